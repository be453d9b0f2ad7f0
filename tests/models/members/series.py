"""Forecasters of time series."""

import functools

from deeplab.models.series import dlinear, lstm_forecaster, patchtst, tcn
from tests.models.members.base import Family, member, normal

series, week = normal(12, 3), normal(168, 3)
dropout = functools.partial(member, inputs=series, horizon=6, dropout=0.5)
MEMBERS = {
    "dlinear": member(dlinear, dlinear.DLinear, normal(16, 3), (8, 3, 1), horizon=8),  # 8 devices split it
    "lstm_forecaster": dropout(lstm_forecaster, lstm_forecaster.LSTMForecaster, output=(6, 3, 1)),
    "tcn": dropout(tcn, tcn.TCN, output=(6, 3, 1)),
    "patchtst": dropout(patchtst, patchtst.PatchTST, output=(6, 3, 2), outputs=2),
}


def forecaster(make: type) -> functools.partial:
    return functools.partial(make, horizon=6)


FAMILIES = {
    "dlinear": Family(forecaster(dlinear.DLinear), dlinear.VARIANTS, week, (6, 3, 1)),
    "lstm_forecaster": Family(forecaster(lstm_forecaster.LSTMForecaster), lstm_forecaster.VARIANTS, week, (6, 3, 1)),
    "tcn": Family(forecaster(tcn.TCN), tcn.VARIANTS, week, (6, 3, 1)),
    "patchtst": Family(forecaster(patchtst.PatchTST), patchtst.VARIANTS, week, (6, 3, 1)),
}
