"""Speed and memory of vaejax beside its peers."""
