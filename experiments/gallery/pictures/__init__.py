"""Pictures that several entries draw."""
