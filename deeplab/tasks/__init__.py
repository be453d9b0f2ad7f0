"""Tasks: loss, metrics and predictions for each kind of problem."""

from deeplab.tasks import errors, unlabeled, views
from deeplab.tasks.classification import Classification
from deeplab.tasks.clinical import Clinical
from deeplab.tasks.contract.apply import Apply
from deeplab.tasks.contract.task import Loss, Task, Trained
from deeplab.tasks.ctc import CTC
from deeplab.tasks.detection import Detection
from deeplab.tasks.errors import AbsoluteError, Gaussian, Huber, Quantiles, SquaredError
from deeplab.tasks.forecast import Forecasting
from deeplab.tasks.language import LanguageModeling
from deeplab.tasks.multilabel import MultiLabel
from deeplab.tasks.objectives import BinaryCrossEntropy, InBatchSoftmax, SampledSoftmax, Softmax
from deeplab.tasks.ranking import Ranking
from deeplab.tasks.rating import RatingPrediction, RootMean
from deeplab.tasks.regression import Regression
from deeplab.tasks.segmentation import MeanIoU, Segmentation
from deeplab.tasks.translation import Translation

__all__ = [
    "CTC",
    "AbsoluteError",
    "Apply",
    "BinaryCrossEntropy",
    "Classification",
    "Clinical",
    "Detection",
    "Forecasting",
    "Gaussian",
    "Huber",
    "InBatchSoftmax",
    "LanguageModeling",
    "Loss",
    "MeanIoU",
    "MultiLabel",
    "Quantiles",
    "Ranking",
    "RatingPrediction",
    "Regression",
    "RootMean",
    "SampledSoftmax",
    "Segmentation",
    "Softmax",
    "SquaredError",
    "Task",
    "Trained",
    "Translation",
    "errors",
    "unlabeled",
    "views",
]
