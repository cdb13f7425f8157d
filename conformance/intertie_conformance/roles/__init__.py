"""The roles that the suite plays against a target: stranger, consumer, scripted peer, whole honest grid."""
