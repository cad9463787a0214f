"""Modules without a test file of their name, and the tests that cover them."""

TESTED_BY = {
    "pipeline/commands/adopt.py": "tests/pipeline/runs/starting/test_released_checkpoint.py",
    "pipeline/runs/setting.py": "tests/pipeline/runs/starting/test_released_checkpoint.py",
    "pipeline/commands/bundle.py": "tests/pipeline/runs/test_runs.py",
    "pipeline/commands/evaluate.py": "tests/pipeline/runs/test_runs.py",
    "pipeline/commands/inspect.py": "tests/pipeline/datasets/test_inspection.py",
    "pipeline/commands/phantom.py": "tests/test_docs.py",
    "pipeline/commands/predict.py": "tests/pipeline/prediction/test_predict.py",
    "pipeline/commands/push.py": "tests/pipeline/files/test_hub.py",
    "pipeline/commands/report.py": "tests/pipeline/report/test_page.py",
    "pipeline/commands/shared/options.py": "tests/knowledge/encoders/test_every_encoder.py",
    "pipeline/commands/rerun.py": "tests/pipeline/runs/test_reproduction.py",
    "pipeline/commands/shared/training_observer.py": "tests/pipeline/runs/test_reproduction.py",
    "pipeline/commands/study.py": "tests/pipeline/experiments/engines/test_run_study.py",
    "pipeline/commands/train.py": "tests/pipeline/runs/test_resume.py",
    "pipeline/datasets/array_comparison.py": "tests/pipeline/datasets/test_shared_folders.py",
    "pipeline/datasets/drafts/draft.py": "tests/pipeline/commands/test_init.py",
    "pipeline/datasets/drafts/organs.py": "tests/pipeline/commands/test_init.py",
    "pipeline/datasets/mask_folders.py": "tests/pipeline/scoring/test_score_masks.py",
    "pipeline/datasets/split_drawing.py": "tests/pipeline/commands/test_split.py",
    "pipeline/datasets/tables.py": "tests/pipeline/datasets/test_shared_folders.py",
    "pipeline/experiments/data_stages.py": "tests/pipeline/experiments/test_study.py",
    "pipeline/experiments/engines/making.py": (
        "tests/pipeline/experiments/engines/test_run_study.py"
    ),
    "pipeline/experiments/results/page_content.py": (
        "tests/pipeline/experiments/engines/test_run_study.py"
    ),
    "pipeline/experiments/text_stages.py": "tests/pipeline/experiments/test_study.py",
    "pipeline/pictures/contact_sheet.py": "tests/pipeline/datasets/test_inspection.py",
    "pipeline/pictures/overlay.py": "tests/pipeline/runs/test_runs.py",
    "pipeline/prediction/outputs.py": "tests/pipeline/prediction/test_predict_again.py",
    "pipeline/report/views/pictures.py": "tests/pipeline/report/test_truth.py",
    "pipeline/scoring/rescoring.py": "tests/pipeline/runs/test_reproduction.py",
    "pipeline/report/views/scores.py": "tests/pipeline/report/test_truth.py",
    "pipeline/report/views/surfaces.py": "tests/pipeline/report/surfaces/test_case_surfaces.py",
    "pipeline/report/views/texts.py": "tests/pipeline/report/test_page.py",
    "pipeline/report/write.py": "tests/pipeline/report/test_page.py",
    "pipeline/runs/observer.py": "tests/pipeline/terminal/test_resumed_view.py",
    "pipeline/runs/trained_model.py": "tests/pipeline/runs/bundles/test_writing.py",
    "pipeline/texts/asking.py": "tests/pipeline/commands/test_describe.py",
    "segmentation/methods/base/co_training.py": "tests/segmentation/methods/test_every_method.py",
    "segmentation/networks/alignments/base/alignment.py": (
        "tests/segmentation/networks/alignments/test_every_alignment.py"
    ),
    "segmentation/networks/heads/base/generated.py": (
        "tests/segmentation/networks/test_head_triton.py"
    ),
    "segmentation/networks/heads/base/head.py": (
        "tests/segmentation/networks/heads/test_every_head.py"
    ),
    "segmentation/training/run_files.py": "tests/segmentation/training/test_monitor.py",
    "pipeline/scoring/truth.py": "tests/pipeline/scoring/test_score_masks.py",
}
