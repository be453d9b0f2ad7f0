# %% [markdown]
# # images
# The experiment is in `images.py`: change it there, and restart the kernel.

# %%
import deeplab as dl
from deeplab.templates.images import experiment

print(dl.summary(experiment))

# %% [markdown]
# Train. The same cell again goes on, or says that it is done.

# %%
run = dl.fit(experiment, run_dir="runs/images")
print(run)

# %% [markdown]
# The report, with curves and examples.

# %%
from IPython.display import HTML  # noqa: E402

HTML(run.report.read_text(encoding="utf-8")) if run.report else None

# %% [markdown]
# Learning rates beside one another, with two seeds each, in one program.

# %%
rows = dl.sweep(experiment, {"learning_rate": [3e-3, 1e-2, 3e-2]}, seeds=2)
print(rows)
