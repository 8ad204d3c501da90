"""One file a command of ``isocalc``: its options, stacked, and the order of its work.

`param`, `density` and `init` compute, `mc` simulates, `measure` takes the user's module, `acts` and `guide`
explain. Each has a click command called ``command``, which `isocalc.cli.group` loads when it is asked for,
and imports what is heavy within its functions: ``--help`` loads neither NumPy nor Rich.
"""
