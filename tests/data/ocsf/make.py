"""Make the schema beside this file anew, out of the official export of OCSF that the package
ocsf-json-schema on PyPI carries:

pip install ocsf-json-schema==1.2.0 && python tests/data/ocsf/make.py
"""

import gzip
import json
from pathlib import Path

from ocsf_json_schema import OcsfJsonSchemaEmbedded, get_ocsf_schema

VERSION = "1.8.0"
CLASS = "api_activity"
PROFILES = ["security_control", "trace"]


def main() -> None:
    """Write the JSON Schema of the class with these profiles."""
    schema = OcsfJsonSchemaEmbedded(get_ocsf_schema(version=VERSION))
    made = schema.get_class_schema(CLASS, PROFILES)
    text = json.dumps(made, sort_keys=True, separators=(",", ":")).encode()
    place = Path(__file__).parent / f"{CLASS}-{VERSION}.json.gz"
    place.write_bytes(gzip.compress(text, 9, mtime=0))


if __name__ == "__main__":
    main()
