"""How far an estimate can be trusted: standard errors, intervals, bootstrap, conformal."""
