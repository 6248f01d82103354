"""What bookkeepers take out of billing: the sales journal, the receivables by age, and the check that every sum agrees with every other."""
