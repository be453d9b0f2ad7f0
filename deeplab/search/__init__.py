"""Many runs of one experiment: groups, execution, proposals, halving, sweeps."""
