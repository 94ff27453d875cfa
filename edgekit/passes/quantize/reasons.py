"""Why nodes that could be integer stay float, as a step's record and the report say it."""

BY_USER = "kept in float by keep_float"
FOR_BUDGET = "kept in float: the budget"
NO_SLOWER = "kept in float: the runtime computes it no faster in integers"
DECIDES_SIGN = "kept in float: it decides a sign, which rounding would turn"
