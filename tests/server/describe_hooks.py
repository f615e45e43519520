"""What schemathesis cannot know of a valid request."""

import schemathesis


@schemathesis.hook
def before_call(context, case, kwargs):
    """An event that names another source than this field does is refused, though both are valid alone."""
    for name in [name for name in case.headers or {} if name.lower() == "x-service-name"]:
        del case.headers[name]
    if case.path.startswith("/dead-letters") and case.method in ("DELETE", "POST"):
        # Which letters are meant has to be said, one way or the other.
        query = {name: value for name, value in (case.query or {}).items() if name != "all"}
        case.query = query or {"all": "true"}
