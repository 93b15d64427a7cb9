"""What keeps a lake healthy: doctor, compaction, retention."""
