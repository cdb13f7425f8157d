"""`intertie demo`: three grids on this machine, one real task, two sets of books that must agree.

`scenario` is the play. `grids`, `processes` and `operator` build and run the three grids with the same commands
that operators type; `repository` and `library` make what south serves; `agent` does the work through the
public client; `exports` reads what the grids exported; `verdict` judges; `report` shows.
"""
