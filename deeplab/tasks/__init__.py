"""Tasks: loss, metrics and predictions for each kind of problem."""

from deeplab.tasks import views
from deeplab.tasks.base import Apply, Loss, Task, Trained
from deeplab.tasks.classification import Classification
from deeplab.tasks.clinical import Clinical
from deeplab.tasks.ctc import CTC
from deeplab.tasks.forecast import Forecasting
from deeplab.tasks.language import LanguageModelling
from deeplab.tasks.objectives import BinaryCrossEntropy, InBatchSoftmax, SampledSoftmax, Softmax
from deeplab.tasks.ranking import Ranking
from deeplab.tasks.rating import RatingPrediction, RootMean
from deeplab.tasks.segmentation import MeanIoU, Segmentation
from deeplab.tasks.translation import Translation

__all__ = [
    "CTC",
    "Apply",
    "BinaryCrossEntropy",
    "Classification",
    "Clinical",
    "Forecasting",
    "InBatchSoftmax",
    "LanguageModelling",
    "Loss",
    "MeanIoU",
    "Ranking",
    "RatingPrediction",
    "RootMean",
    "SampledSoftmax",
    "Segmentation",
    "Softmax",
    "Task",
    "Trained",
    "Translation",
    "views",
]
