"""From a command and its settings to jobs: which there are (`jobs`), and their batch scripts (`script`). No I/O but templates."""
