"""What this process may use of the machine: CPUs and memory, limited by control groups (containers, batch systems)."""
