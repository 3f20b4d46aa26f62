"""Pictures that do not move: the same models, edges, plates and looks as a render, file in, file out."""
