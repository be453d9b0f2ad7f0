"""Views of images are the images, moved and mirrored."""

import jax
import numpy as np
import pytest

from deeplab.tasks import views

X = jax.random.normal(jax.random.key(0), (2, 6, 5, 3))


@pytest.mark.parametrize("by", [-2, -1, 0, 1, 2])
def test_moved_back_it_is_itself_but_for_the_border(by):
    back = views.moved(-by)(views.moved(by)(X))
    inside = slice(abs(by), -abs(by) or None)
    np.testing.assert_array_equal(back[:, inside, inside], X[:, inside, inside])
    assert (by == 0) == bool((views.moved(by)(X) == X).all())


def test_five_views_that_differ():
    seen = [X, *(view(X) for view in views.mirrored_and_moved())]
    assert len(seen) == 6
    assert all(x.shape == X.shape for x in seen)
    assert not any((seen[i] == seen[j]).all() for i in range(6) for j in range(i))
    np.testing.assert_array_equal(views.mirrored(views.mirrored(X)), X)
    np.testing.assert_array_equal(views.mirrored(seen[-1]), seen[2])
