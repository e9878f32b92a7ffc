def hand_over(): pass
