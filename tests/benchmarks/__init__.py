"""What a call costs on azure_shim, as a ratio to the same on ``openai.AzureOpenAI``: ``python -m tests.benchmarks``.

All contenders run in one process, turn by turn, so that whatever else the machine does falls on all of them alike; of
every round only the ratios are kept, and of the ratios their median. CPU time is the process's own: the server on
loopback is another process. There is no assertion on time here; pytest collects a smoke test alone.
"""
