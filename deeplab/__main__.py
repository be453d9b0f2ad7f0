"""`python -m deeplab`: the command `deeplab`, where its script is not on the path."""

from deeplab.cli import deeplab

if __name__ == "__main__":
    deeplab()
