-- id: undrawn-share
-- title: Shares in income that were not drawn
-- title-zh: 尚未提取的分成
-- clause: model sharing rules, art. 9: what was received is passed on to who shares in it
-- clause-zh: 模型共享规则第九条：收入应分配至各份额持有方
-- severity: low
-- subject: contribution_id
-- owner: owner
SELECT contribution.contribution_id AS contribution_id,
       contribution.model AS model,
       contribution.owner AS owner,
       contribution.share AS share,
       contribution.drawn AS drawn,
       account.received * contribution.share_end / 10000
           - account.received * contribution.share_start / 10000
           - contribution.drawn AS undrawn
FROM model_sharing.contribution AS contribution
JOIN model_sharing.account AS account
  ON account.account_id = contribution.account
WHERE contribution.state = 'confirmed'
  AND account.received * contribution.share_end / 10000
      - account.received * contribution.share_start / 10000
      - contribution.drawn > :threshold
ORDER BY contribution.contribution_id
