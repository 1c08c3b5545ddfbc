"""Helpers of the course: data, a training loop you could have written, exercises with checks.

Importing the package imports nothing else and touches no accelerator; import the module you need,
for example ``from vaetl_helpers.training import fit``. The modules, in the order in which data flow
through them; none imports what stands below it, but `app` starts `authoring` and `grading`:

errors           what a reader can mend: `CourseError`, unknown names
seeds            whole numbers that people hand over
requirements     what the package asks for and what of it is installed
bootstrap        a notebook's first cell on Colab and Kaggle: adds what is missing, moves nothing
device           which devices work, and in which precision they compute
output           lines, tables and numbers of a notebook; a file is written whole or not at all
provenance       when, and from which commit, something was made
progress         what a learner has answered: a line each in progress.jsonl, beside the notebooks
settings         profiles, `setup`, the platform, the folder that outlives the machine
recorded         what the authors have run: weights, records, tables, arrays
nets             small networks
data             images in memory (`ImageSet`), readers, downloads, the data sets, transfer tasks
vae              the variational autoencoder: posterior, bounds, loss; linear_gaussian: a known case
training         the loop (`fit`), early stopping, checkpoints, many networks at once
transfer         freezing, features and probes, fine-tuning, ImageNet networks
study            label draws, runs, journal, table, effects with intervals, verdicts, costs
supervised_transfer  chapter 4: methods that start from a network trained with labels
vae_transfer     chapter 5: pretraining and the methods it compares; tuned: their settings
pretraining      chapter 5a: ways of pretraining one encoder, everything else the same
vae_comparisons  chapter 5: what a study's methods are compared in, as records for the ledger
m2               chapter 5b: VAEs with labels, multi-task and semi-supervised
representations  chapter 5b: how alike two representations are, which part of a VAE transfers
text             chapter 4b: sentences, words and a small BERT
detection        chapter 4c: a detector and its measure
detection_comparisons  chapter 4c: what its study's methods are compared in
samples          chapter 3a: invented images, and how far they lie from real ones
flops            the operations of a training step, counted
hardware         chapters 1c to 2b: what this machine can do, and what a run costs on it
machines         `vaetl record-machine`: all that chapters 2 and 2b measure, kept in one file
claims           the ledger: which record decides which claim; no prose
figures          diagrams: drawn ideas, a script each, light and dark
plots            figures of results; widgets: those with controls; living: those that need no kernel
vae_uses         chapter 5b: VAEs over β, halves that are kept, layers compared, bars
collecting       pictures that come through the browser: chosen files, the camera
page_figures     how a figure is stored: sharp, and stacked for phones; alt_texts: what it shows
exercises        exercises: engine, toolkit, one module a chapter, one block an exercise
chapters         the notebooks as files: which there are, `find("3")`, a learner's own copy
practice         bets before runs, recall of earlier chapters, quizzes, challenges
app              the commands: cli, running chapters, JupyterLab, start page, ledger in words, cards
authoring        for authors: sources to notebooks, lint, web pages, slides, weights and records
grading          for instructors: submissions, sandbox, judge, results, gradebook, pages

`runtime` gathers what a notebook's first cells import. `tasks`, `combine`, `joint` and `start` are
former names, for notebooks that were handed out earlier.
docs/architecture.md walks through these rooms.
"""

__version__ = "0.1.0"
