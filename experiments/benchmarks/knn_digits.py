"""Nearest neighbors on the digits: the baseline of `experiments.image_digits`, on the same split.

Run:     python -m experiments.benchmarks.knn_digits
Result:  k = 1: 98.89 %, k = 3: 98.06 %, k = 5: 98.61 % (no randomness: the same on every machine)
Source:  Cover and Hart 1967, https://doi.org/10.1109/TIT.1967.1053964
"""

from sklearn.neighbors import KNeighborsClassifier

import deeplab as dl


def accuracy(num_neighbors: int) -> float:
    """Test accuracy of the majority vote of the nearest training images, by Euclidean distance of pixels."""
    data = dl.data.Images("digits", epochs=1)
    train, test = data.open("train").arrays, data.open("test").arrays
    pixels = [split["image"].reshape(len(split["image"]), -1) / 255.0 for split in (train, test)]  # [N, H*W*C] each
    model = KNeighborsClassifier(num_neighbors).fit(pixels[0], train["label"])
    return float(model.score(pixels[1], test["label"]))


if __name__ == "__main__":
    for num_neighbors in (1, 3, 5):
        print(f"k = {num_neighbors}: {accuracy(num_neighbors):.2%}")
