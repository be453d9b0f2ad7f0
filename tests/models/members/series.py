"""Models of time series: forecasters, and the classifier of beats."""

import functools

from deeplab.models import dlinear, lstm_forecaster, patchtst, resnet1d, tcn
from tests.models.members.base import Family, member, normal

beats, series, week = normal(20, 2), normal(12, 3), normal(168, 3)
dropout = functools.partial(member, inputs=series, horizon=6, dropout=0.5)
MEMBERS = {
    "resnet1d": member(resnet1d, resnet1d.ResNet1D, beats, (5,), num_classes=5),
    "dlinear": member(dlinear, dlinear.DLinear, series, (6, 3, 1), horizon=6),
    "lstm_forecaster": dropout(lstm_forecaster, lstm_forecaster.LSTMForecaster, output=(6, 3, 1)),
    "tcn": dropout(tcn, tcn.TCN, output=(6, 3, 1)),
    "patchtst": dropout(patchtst, patchtst.PatchTST, output=(6, 3, 2), outputs=2),
}


def forecaster(make: type) -> functools.partial:
    return functools.partial(make, horizon=6)


FAMILIES = {
    "resnet1d": Family(functools.partial(resnet1d.ResNet1D, num_classes=4), resnet1d.VARIANTS, beats, (4,)),
    "dlinear": Family(forecaster(dlinear.DLinear), dlinear.VARIANTS, week, (6, 3, 1)),
    "lstm_forecaster": Family(forecaster(lstm_forecaster.LSTMForecaster), lstm_forecaster.VARIANTS, week, (6, 3, 1)),
    "tcn": Family(forecaster(tcn.TCN), tcn.VARIANTS, week, (6, 3, 1)),
    "patchtst": Family(forecaster(patchtst.PatchTST), patchtst.VARIANTS, week, (6, 3, 1)),
}
