"""How good a model is: metrics, reports, and the speech detector measured."""
