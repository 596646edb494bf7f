"""Mutation testing: change one thing in the source, and see whether a test fails.

    python -m tools.mutants run --seed 0 --sample 60     # per package; resumes where it was stopped
    python -m tools.mutants run --again                  # test the survivors again, after tests were added
    python -m tools.mutants report

The operators are those of mutmut. mutmut itself does not mutate functions with decorators, which is what every query
method of Fathom is, and its mutants do not reach worker processes; so the mutants are made and run here.
"""
