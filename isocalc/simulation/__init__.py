"""Random networks drawn and run: the forward pass, the Jacobian, its singular values, and many replicates.

One network: `forward` draws it layer by layer, `jacobian` multiplies its layers, `simulate` gives its
singular values. Many: `tasks` describes each as something that any process turns into the same numbers,
`replicates` runs them on `executors` (this process, or a `worker` for each core) or a Dask `cluster`, and
`checkpoint` keeps what is finished. The room's numbers are in `budgets`.
"""
