"""What stands between store and backend: discovery, backend manager, peer feed, lease keeper."""
