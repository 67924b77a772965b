"""One file a command: reads its inputs, wires actors and trainers, writes its outputs."""
