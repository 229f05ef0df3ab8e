"""Optional bases for plugin authors."""
