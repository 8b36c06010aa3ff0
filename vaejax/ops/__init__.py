"""Operations that XLA's backends do not do as fast as they can."""
