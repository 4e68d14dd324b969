"""The three presets a new installation starts with. Operators may edit or delete them in the admin."""

from django.db import migrations

PRESETS = [
    {
        "slug": "quick-test",
        "name": "Quick test",
        "description": "A few minutes, to see that data, model and machine work together.",
        "position": 1,
        "hyperparameters": {
            "max_steps": 40,
            "learning_rate": 5e-4,
            "per_device_train_batch_size": 1,
            "gradient_accumulation_steps": 2,
            "warmup_steps": 0.05,
            "r": 8,
            "lora_alpha": 16.0,
            "max_length": 512,
            "logging_steps": 1,
            "eval_steps": 10,
            "save_steps": 20,
        },
    },
    {
        "slug": "balanced",
        "name": "Balanced",
        "description": "Good results for most datasets of some hundred to some ten thousand rows.",
        "position": 2,
        "is_default": True,
        "hyperparameters": {
            "num_train_epochs": 3.0,
            "learning_rate": 2e-4,
            "per_device_train_batch_size": 2,
            "gradient_accumulation_steps": 4,
            "warmup_steps": 0.03,
            "r": 16,
            "lora_alpha": 32.0,
            "lora_dropout": 0.05,
            "max_length": 1024,
        },
    },
    {
        "slug": "high-quality",
        "name": "High quality",
        "description": "A larger adapter, longer rows and more passes over the data. Takes several times as long.",
        "position": 3,
        "hyperparameters": {
            "num_train_epochs": 5.0,
            "learning_rate": 1e-4,
            "per_device_train_batch_size": 2,
            "gradient_accumulation_steps": 8,
            "warmup_steps": 0.05,
            "weight_decay": 0.01,
            "r": 64,
            "lora_alpha": 128.0,
            "lora_dropout": 0.05,
            "max_length": 2048,
            "held_out_samples": 8,
        },
    },
]


def add_presets(apps, schema_editor):
    preset = apps.get_model("pipeline", "Preset")
    if preset.objects.exists():
        return
    preset.objects.bulk_create(preset(**values) for values in PRESETS)


class Migration(migrations.Migration):
    dependencies = [("pipeline", "0001_initial")]
    operations = [migrations.RunPython(add_presets, migrations.RunPython.noop)]
