"""What a training example has done to a prediction: scores, and retraining without it."""
