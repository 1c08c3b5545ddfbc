"""Which chapters an instructor can hand out: several tests of grading go through all of them."""

# The start page has an exercise to try `check` with and nothing to set up: it is not handed in.
START = "00"
GRADED = (
    *("01", "01b", "01c", "02", "02b", "03", "03a", "03b", "03c"),
    *("04", "04a", "04b", "04c", "04d", "04e", "04f"),
    *("05", "05a", "05b", "05c"),
)
