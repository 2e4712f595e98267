"""What an agent needs to do its work, asked one precondition after the other, each by trying it.

A module is a family of questions: `ask(patient)` yields findings. `examination` asks them in order, so that
what cannot be asked, because something before it failed, is said to be so and not to have failed too.
"""
