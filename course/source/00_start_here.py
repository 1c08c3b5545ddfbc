# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
#   vaetl:
#     chapter: "00"
#     title: Start here
#     minutes: {reading: 8, exercises: 3, cpu: 0.1, gpu: not yet measured}
#     requires: []
# ---

# %% [markdown]
# # Start here
#
# {badges}

# %% [markdown]
# ## What you will be able to do
#
# - find the chapter that you want, and see how far you are;
# - run a chapter on your machine, whether that is small or large;
# - work with the exercises, from the first try to a check, a hint and the solution;
# - know in seconds whether this machine has what the course needs.
#
# You need Python, a little NumPy, and the idea that a function has a slope, and each chapter says what else it builds on.

# %% [markdown] slide="Two articles make claims; this course tests them"
# ## What this course is
#
# This course grew out of two articles, which chapter 1c names.
# One says that training needs enormous computing power, so that accelerators are essential, and that a network which tells dogs from cats learns with little work to tell dogs from foxes.
# The other says that a variational autoencoder, which chapter 3 introduces, overfits less, trains more efficiently and performs better when it is combined with this kind of reuse.
#
# Neither gives any evidence, so **this course tests each claim with real data, repeated runs and intervals, and keeps the cases in which it fails.**
# A table in [chapter 5a, section 5](05a_what_the_ledger_says.ipynb#5.-So,-what-does-the-ledger-say?) lists all claims with what came out.

# %% [markdown]
# ## Run your first cells
#
# A notebook is a page of text and of *cells* that hold code.
# To run a cell, click into it and press **Shift+Enter**, and while it is running, `[*]` stands beside it.
#
# The next cell fetches the course's helpers where they are not installed, as on Colab and Kaggle.
# Its long lines are folded, and a click on the three dots shows them.

# %% tags=["bootstrap"]
pass

# %% [markdown]
# ## A figure to move
#
# Some figures of this course can be moved, in JupyterLab and on its web pages.
# In this one, each place on a plane is turned into a digit by a network that chapter 3 explains.
# Drag the point, or press Tab until it is marked and use the arrow keys.

# %% slide="A plane of digits that nobody wrote"
import matplotlib.pyplot as plt

from vaetl_helpers.living.latent_plane import latent_plane

latent_plane(alt="00/plane", draw=False)
plt.show()

# %% [markdown]
# On the left, nearly every place gives a digit, and on the right there are gaps between them; chapter 3 says why.

# %% [markdown]
# ## The cells at the top of every chapter
#
# `Run > Run All Cells` runs all cells from top to bottom, and `Ctrl+S` saves.
# If everything hangs, choose `Kernel > Restart Kernel` and run the cells again from the top.
#
# The next cell holds the parameters, of which `profile` says how much is computed:
#
# | profile | made for | a chapter takes |
# |---|---|---|
# | `smoke` | a first look, and Binder | about half a minute; the curves are too short to show much |
# | `cpu` | a laptop | up to 3 minutes; the numbers in the text come from it |
# | `gpu` | a graphics processor, as Colab and Kaggle lend one | not yet measured |
# | `paper` | the long runs whose results are stored | hours; you need not run it |
#
# On Binder `auto` takes `smoke`, and elsewhere it takes `gpu` if the machine has one, and otherwise `cpu`.
# The other parameter, `seed`, is the start of all random numbers, so another seed shows you what changes by chance alone.

# %% tags=["parameters"]
profile: str = "auto"  # smoke (seconds, for a first look), cpu, gpu, paper, or auto
seed: int = 0  # start of every random number

# %% [markdown]
# The cell after it reads the parameters and says where the notebook runs.
# The cell that fetches the helpers, this one and the one above stand at the top of every chapter.

# %%
from vaetl_helpers.runtime import setup

P = setup("00", profile, seed=seed)

# %% [markdown]
# ## Is this machine ready?
#
# The next cell tries what the chapters need: the packages, the device that computes, the images, and the folder that keeps your work.
# It also trains a network for one *epoch*, which is one pass over the images, and compares a formula with a simulation.
# The formula computes a *KL* in *nats*, words that chapters 1 and 3 explain, and here it is enough that the two numbers nearly agree.
#
# Look for `[ok]` in the first column, and if a row has `[!!]` instead, read in the column *found* what to do.

# %%
from vaetl_helpers.app.start import course_map, self_test

ready = self_test()

# %% [markdown]
# ## Your place in the course
#
# A click on a name opens the chapter in JupyterLab, and elsewhere you open it from the course's repository.
# The minutes under `reading` and `exercises` are our estimates for a learner.
# Those under `run` were measured for the whole chapter in the profile `cpu`, on two cores without an accelerator.
# The column `solved` fills up while you work.
# When you come back, run the cells above first, in order, and then this one again.

# %%
course_map()

# %% [markdown]
# Each line is one sitting of at most an hour, and asks one question.
#
# - **1** What happens in a training step?
#   **1b** How do you see that training goes well?
#   **1c** What does it cost?
# - **2** When does an accelerator help?
#   **2b** What can be had without one, and how do you keep your work on a borrowed one?
# - **3** What is a variational autoencoder?
#   **3a** Does it invent better than an autoencoder?
#   **3b** Is its mathematics right, and how good is it?
#   **3c** What does its bound say, and what not?
# - **4** How do you reuse a trained network?
#   **4a** Is the gain real?
#   **4b** asks the same for text, **4c** for finding objects in pictures, and **4d** for pictures that you take yourself.
#   **4e** Which layers transfer?
#   **4f** What does a network forget?
# - **5** Does what a variational autoencoder has learned help another task?
#   **5a** What do all the runs say about the claims?
#   **5b** Why, and which part of it?
#   **5c** Can one objective do both at once?
#
# Chapters 1, 1b, 1c, 2, 3, 3a, 4, 4a, 5 and 5a build on each other, and the others can wait.
# If you are short of time, read 1, 1b and 3, then 5, and for transfer learning alone, read 1 and 1b, then 4.
# If you have no time at all, read the table of claims in chapter 5a, section 5.

# %% [markdown]
# ## How the exercises work
#
# An exercise is a cell with a function to finish, and the cell below it checks your answer on numbers that are drawn anew.
# Here is a small one to practise on, which counts for nothing.
# Put your code in place of the `...`, run that cell with Shift+Enter, and then the check below it.
# After every change run both again.
#
# On a web page each exercise was solved before the run, so the output below it is that of the folded solution.
#
# ### Practice: a share · 3 minutes
#
# `values` is a *tensor*, PyTorch's array of numbers, which can be compared, averaged and so on like a NumPy array.
# Return the share of them that are larger than `threshold`: 0 if none is, 1 if all are, and one half for the values 1, 2, 3, 4 and the threshold 2.

# %%
import torch

from vaetl_helpers.exercises import check, hint, solution

# %% exercise="start.share_above"

# %% check="start.share_above"
share_above_checked = check("start.share_above", share_above)

# %% [markdown] slide="What a check can say"
# The check says one of four things:
#
# | mark | meaning |
# |---|---|
# | `[--]` not attempted | the function still returns `...` |
# | `[ok]` correct | on to the next |
# | `[no]` incorrect | with a sentence on what is wrong |
# | `[!!]` crashed | with Python's reason and the line |
#
# It also returns a function under a new name, here `share_above_checked`, which is yours if it is correct and otherwise the reference.
# The cells below use that one, so you can skip an exercise and the rest of the chapter still runs.

# %% tags=["nbval-check-output"]
print(float(share_above_checked(torch.tensor([1.0, 2.0, 3.0, 4.0]), 2.0)))

# %% [markdown]
# If you are stuck, each call gives you the next hint.

# %% tags=["nbval-check-output"]
hint("start.share_above")

# %% [markdown]
# And this line prints the solution, once you copy it into a new cell (the **+** of the toolbar).
# Try it yourself first; you remember what you work out.
#
# ```
# solution("start.share_above")
# ```

# %% [markdown]
# ## Where your work is
#
# **In JupyterLab**, which `vaetl lab` starts, you work on your own copy of the course, in the folder `vaetl-course` of your home unless you chose another.
# Nothing that you have changed there is ever overwritten: when a newer version of the course arrives, its notebooks are put beside yours, as `NAME.new-VERSION.ipynb`.
#
# Every check, bet and answer adds a line to the file `progress.jsonl` beside the notebooks, and nowhere else.
# The table above reads this file, so delete it if you want to start from nothing.
#
# **On Colab and Kaggle** a session ends, and with it all that is not saved.
# So save a copy of the notebook early (Colab: `File > Save a copy in Drive`; Kaggle: *Save Version*).
# That copy lacks `progress.jsonl`, so download it from the panel of files, or run the checks anew.
# Chapter 2b shows how to keep a training run, too.
#
# **Without a network**, once the course is installed, everything in the profiles `smoke` and `cpu` runs, because the images come with the package.
# `vaetl lab --offline` asks no other machine for anything.
# The first cell does need the network on Colab; on Kaggle it can take the course from an attached data set, as the appendix of chapter 2b shows.

# %% tags=["nbval-check-output"]
from vaetl_helpers.data import load

images = load("mnist")

# %% [markdown]
# These are the 5,000 digits that the package carries.
# Every chapter prints such a line, which says which images are used and how many there are to train, to make choices, and to test.

# %% [markdown]
# ## Bets
#
# Before a run that decides something, a chapter asks for your bet.
# You choose an answer and say how sure you are, or you give an interval that you are 80 % sure of.
# The cells below keep their results hidden until you have bet, and then show you how it came out.
# Nobody else sees your bets, and a wrong one costs nothing.
#
# Here are four bets to practise on, three of them about chance.

# %%
from vaetl_helpers.practice import calibration, my_bets, predict, quiz, settle

predict("start.share")
predict("start.heads")
predict("start.birthdays")
predict("start.ink")

# %% [markdown]
# Chance is simulated a hundred thousand times, and the ink is that of the digits from above.

# %%
numbers = torch.randn(100_000)
settle("start.share", 100 * float(share_above_checked(numbers, 1.0)))

heads = torch.randint(2, (100_000, 100)).sum(dim=1)
settle("start.heads", 100 * (heads == 50).float().mean().item())

days = torch.randint(365, (100_000, 23)).sort(dim=1).values
shared = (days.diff(dim=1) == 0).any(dim=1)
settle("start.birthdays", 100 * shared.float().mean().item())

settle("start.ink", 100 * images.train.images.float().mean().item() / 255)

# %% [markdown]
# If you are 80 % sure of something, you should be right in 80 of 100 cases, and most people are right less often.
# Are you?
# The next cell compares how sure you were with how often you were right, over the bets of all chapters, so come back after each chapter and run it again.

# %%
my_bets("00")
calibration()

# %% [markdown]
# ## An open task
#
# Which numbers on this page depend on chance, and how much do they move?
# Set `seed` in the parameters cell to five other numbers, and run the page from the top each time.
# Write down what changed each time, and between which ends it lay.
# The task is answered when you can say before a sixth run what will change and about how far, and are right.

# %% [markdown]
# ## Quiz
#
# **1.
# A check says `[--] not attempted`.
# What do the cells below it use?**
#
# <details><summary>Nothing: they will fail.</summary>
#
# No, because every chapter runs from top to bottom, solved or not.
# </details>
#
# <details><summary>The reference solution.</summary>
#
# Right, the check returned it under the name that ends in <code>_checked</code>.
# </details>
#
# **2.
# You ran a chapter in `smoke` and its accuracy is lower than in the text.
# What is wrong?**
#
# <details><summary>The machine.</summary>
#
# No, <code>smoke</code> trains for seconds only, on any machine.
# </details>
#
# <details><summary>Nothing. The text quotes the profile <code>cpu</code>.</summary>
#
# Right, so set <code>profile = "cpu"</code> in the parameters cell and run all cells.
# </details>

# %% [markdown]
# In a notebook you can answer the same questions here, so that what you miss comes back in a later chapter.

# %%
quiz("00")

# %% [markdown]
# ## Take-away
#
# - `profile` decides how much is computed, and `seed` what is drawn by chance.
# - Try an exercise first, then `check`, `hint`, and only then `solution`.
# - The chapters run without a network, without a GPU, and with unsolved exercises.
#
# Go on with [chapter 1](01_training_step.ipynb).

# %% [markdown]
# ## Further reading
#
# - The [documentation of JupyterLab](https://jupyterlab.readthedocs.io): notebooks, cells and shortcuts.
# - `vaetl --help`: all commands, such as `vaetl run`, which runs chapters without opening them.
#   The file README.md in the course's repository explains them.
