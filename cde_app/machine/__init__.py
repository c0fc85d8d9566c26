"""What is between cde and the machine: threads, memory, files, interruptions."""
