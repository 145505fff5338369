"""One model, trained; knows no file and no Ray."""
