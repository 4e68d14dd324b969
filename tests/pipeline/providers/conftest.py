import pytest

pytest.register_assert_rewrite("tests.pipeline.providers.conformance", "tests.pipeline.providers.harness")
