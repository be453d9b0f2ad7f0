"""What every task is: what it is given, what it gives, and the messages where a model returns something else."""
