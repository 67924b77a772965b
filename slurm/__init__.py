"""Templates of batch scripts, which `prstack submit` renders (`prstack.submit.script`)."""
