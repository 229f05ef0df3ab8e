"""NodeAgent: wires store, engine and backend in one TaskGroup; the embeddable thing."""
