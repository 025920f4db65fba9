-- id: token-replayed
-- title: Tokens shown again after they were spent or had lapsed
-- title-zh: 核销或失效后再次出示的令牌
-- clause: access rules, art. 6: a token is good for one use
-- clause-zh: 访问控制规则第六条：一个令牌仅限使用一次
-- severity: high
-- subject: token_id
-- owner: owner
SELECT token.token_id AS token_id,
       token.device AS device,
       token.owner AS owner,
       token.operation AS operation,
       token.state AS token_state,
       token.replays AS replays,
       token.spent_at AS spent_at,
       token.replayed_at AS replayed_at
FROM access_control.token AS token
WHERE token.replays > 0
ORDER BY token.token_id
