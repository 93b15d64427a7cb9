"""Training: labelled clips → features cached once, altered in the loop → weights, then temperature and threshold."""
