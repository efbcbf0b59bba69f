-- Workspaces that leave: how far that has come. A workspace that has begun to leave gets no new key.
ALTER TABLE control.workspaces
    -- Since when its keys are revoked, and nothing is written in it any more.
    ADD COLUMN leaving_at timestamptz,
    -- When its customers were given out, if they were: before the first of them was erased.
    ADD COLUMN exported_at timestamptz,
    -- When the last of its customers was erased.
    ADD COLUMN offboarded_at timestamptz;
