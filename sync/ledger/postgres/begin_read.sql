-- A page's limit decides its plan, so that a plan made for any limit will not do.
BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY;
SET LOCAL plan_cache_mode = force_custom_plan
