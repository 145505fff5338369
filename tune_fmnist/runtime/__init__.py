"""What runs on Ray: its cluster and slots, trials and retrains."""
