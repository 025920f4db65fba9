-- id: late-use
-- title: Offline uses that the ledger would have refused
-- title-zh: 账本本应拒绝的离线使用
-- clause: access rules, art. 7: a device that decides offline keeps to the owner's rules as of then
-- clause-zh: 访问控制规则第七条：设备离线判定时应遵守所有者当时的规则
-- severity: high
-- subject: token_id
-- owner: owner
SELECT token.token_id AS token_id,
       token.device AS device,
       token.owner AS owner,
       token.operation AS operation,
       token.used_at AS used_at,
       token.expires_at AS expires_at,
       access_right.state AS right_state,
       access_right.changed_at AS changed_at
FROM access_control.token AS token
JOIN access_control.access_right AS access_right
  ON access_right.right_id = token.access_right
WHERE token.used_at IS NOT NULL
  AND (token.used_at >= token.expires_at + :tolerance
       OR token.used_at < token.issued_at - :tolerance
       OR (access_right.state <> 'granted' AND token.used_at >= access_right.changed_at + :tolerance))
ORDER BY token.token_id
