"""Random networks drawn and run: the forward pass, the Jacobian, its singular values, and many replicates.

Replicates are tasks that any process turns into the same numbers: in this process, in workers, on a Dask
cluster; finished ones are kept in a checkpoint.
"""
